"""KubeVirt in the lab's Kubernetes: its programs as its authors wrote them, in images made here."""
