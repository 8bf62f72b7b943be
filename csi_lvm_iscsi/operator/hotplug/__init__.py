"""VolumeHotplugs: claims that are attached to virtual machines of KubeVirt while they run.

`decision` is the rules, over a `World` that `cluster` and `inquiries` observe; `reconciler` does
what they say; `driver` is what kopf calls.
"""
