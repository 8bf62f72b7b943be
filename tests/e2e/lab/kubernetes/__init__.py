"""A Kubernetes cluster in the lab: its control plane, kubelets in the hosts, and what it runs."""
