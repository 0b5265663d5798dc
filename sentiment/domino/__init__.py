"""Write what only Domino needs: job statistics and captured predictions."""
