"""Adapters of the ports on Azure Blob Storage and Azure Queue Storage."""
