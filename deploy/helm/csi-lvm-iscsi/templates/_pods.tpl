{{/* What every pod has. Takes a dict of root and account. */}}
{{- define "pod" -}}
serviceAccountName: csi-lvm-iscsi-{{ .account }}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Pods that talk to Kubernetes and to other roles only: not root. The group may read the mounted Secrets. */}}
{{- define "unprivilegedPod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "unprivileged" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/*
Containers that open block devices: the device cgroup lets only privileged ones open those that appear later.
*/}}
{{- define "privileged" -}}
securityContext:
  privileged: true
  readOnlyRootFilesystem: true
{{- end }}

{{/* Environment of every role. */}}
{{- define "roleEnvironment" -}}
# gRPC's fork handlers hang a child that is started while a call is under way.
- name: GRPC_ENABLE_FORK_SUPPORT
  value: "0"
{{- end }}

{{/* Environment of the roles that are one to a host. */}}
{{- define "hostEnvironment" -}}
{{ include "roleEnvironment" . }}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: HOST_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
{{- end }}

{{/*
Probes of a role: its event loop answers. A minute without is not a busy host. Nothing probes tgtd's socket: a
connection that ends before its request makes tgtd spin.
*/}}
{{- define "probes" -}}
readinessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* Probe of a sidecar: it holds its lease, or waits for it. */}}
{{- define "sidecarProbe" -}}
livenessProbe:
  httpGet:
    path: /healthz/leader-election
    port: {{ . }}
  initialDelaySeconds: 10
  periodSeconds: 20
  timeoutSeconds: 5
{{- end }}

{{/* A role ends the calls it has begun, for at most 40 s. */}}
{{- define "gracePeriod" -}}
terminationGracePeriodSeconds: 60
{{- end }}

{{/* Volume of a Secret that bootstrap makes. Takes a dict of name and secret. */}}
{{- define "secretVolume" -}}
- name: {{ .name }}
  secret:
    secretName: csi-lvm-iscsi-{{ .secret }}
    # Not 0400: roles that are not root read it through the pod's fsGroup.
    defaultMode: 0440
{{- end }}

{{/* The host's directories that both storage and node work on. */}}
{{- define "hostVolumes" -}}
# Records that must survive a reboot; on a storage host also the lock that keeps a second instance out.
- name: state
  hostPath:
    path: /var/lib/csi-lvm-iscsi
    type: DirectoryOrCreate
# Devices that appear while the container runs.
- name: dev
  hostPath:
    path: /dev
    type: Directory
# The rule that keeps the host from looking into volumes is written there.
- name: udev
  hostPath:
    path: /run/udev
    type: Directory
# Disks are scanned for, read anew and removed by writing there.
- name: sys
  hostPath:
    path: /sys
    type: Directory
{{- end }}

{{- define "hostMounts" -}}
- name: state
  mountPath: /var/lib/csi-lvm-iscsi
- name: dev
  mountPath: /dev
- name: udev
  mountPath: /run/udev
- name: sys
  mountPath: /sys
- name: chap-keys
  mountPath: /etc/csi-lvm-iscsi/chap-keys
  readOnly: true
{{- end }}

{{/* Where the pods run that no volume in use waits for, but that hold certificates and keys of all storage hosts. */}}
{{- define "controlPlacement" -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .Values.control.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
tolerations:
  - key: node-role.kubernetes.io/control-plane
    operator: Exists
    effect: NoSchedule
  # By default they would stay for 300 s on a node that is lost, with nobody else to tell of it.
  {{- range list "not-ready" "unreachable" }}
  - key: node.kubernetes.io/{{ . }}
    operator: Exists
    effect: NoExecute
    tolerationSeconds: 30
  {{- end }}
{{- end }}

{{/*
Labels of the storage hosts. The usual one is not in the values: helm merges maps, and would demand it beside one's own.
*/}}
{{- define "storageLabels" -}}
{{- toYaml (.Values.storage.nodeSelector | default (dict "csi-lvm-iscsi.node-restriction.kubernetes.io/storage" "true")) }}
{{- end }}

{{/* Whether a node has labels: "yes", or nothing. Takes a dict of node and labels. */}}
{{- define "hasLabels" -}}
{{- $has := "yes" }}
{{- $of := .node.metadata.labels | default dict }}
{{- range $key, $value := .labels }}
{{- if not (and (hasKey $of $key) (eq (get $of $key) $value)) }}{{ $has = "" }}{{ end }}
{{- end }}
{{- $has }}
{{- end }}

{{/* Labels as kubectl takes them. */}}
{{- define "labelArguments" -}}
{{- $arguments := list }}
{{- range $key, $value := . }}{{ $arguments = append $arguments (printf "%s=%s" $key $value) }}{{ end }}
{{- join " " $arguments }}
{{- end }}
