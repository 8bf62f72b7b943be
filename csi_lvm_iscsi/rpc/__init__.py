"""The wire: gRPC servers, what every call goes through (errors, logging, metrics), TLS, stubs."""
