"""Write job statistics for Domino, and send predictions to its model monitoring."""
