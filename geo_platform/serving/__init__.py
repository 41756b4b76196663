"""What readers get: search, pictures, features and downloads of published items."""
