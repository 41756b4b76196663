"""ConfigurableResources whose create_resource hands back a storage adapter."""
