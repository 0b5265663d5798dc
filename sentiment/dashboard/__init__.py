"""Show a Streamlit page on which analysts score a single review or an uploaded file."""
