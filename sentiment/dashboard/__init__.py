"""The analyst's Streamlit page: one review, or an uploaded file of them, through the model in use."""
