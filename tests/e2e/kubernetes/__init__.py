"""The driver in Kubernetes, used as its users do: with kubectl, claims and pods."""
