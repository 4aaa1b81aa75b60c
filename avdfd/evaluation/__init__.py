"""Judge scored clips by tier, method, page or group."""
