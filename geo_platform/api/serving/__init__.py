"""The routes for readers: search, pictures, features and downloads of published items."""
