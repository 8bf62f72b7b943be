# One image for all roles of the driver and for tgtd. lvm and iscsiadm are the host's own: they must
# fit the kernel's device mapper and the running iscsid.
ARG BASE=docker.io/library/debian:bookworm-slim

# What the driver imports, of the versions and hashes of the lock file.
FROM ${BASE} AS packages
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv tgt
RUN python3 -m venv /venv
COPY requirements-image.lock /
# Compiled here, as the image's files cannot be written; by hash, so that no time stamp matters.
RUN to=/image/usr/local/lib/python3.11/dist-packages \
 && /venv/bin/pip install --require-hashes --no-deps --no-compile --no-cache-dir --target $to \
      --requirement /requirements-image.lock \
 && rm -rf $to/bin $to/kubernetes/client/apis $to/kubernetes/e2e_test \
 && find $to -depth \( -name tests -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' \) \
      -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /image $to

FROM ${BASE} AS code
RUN apt-get update && apt-get install --yes --no-install-recommends python3
COPY csi_lvm_iscsi /image/usr/local/lib/python3.11/dist-packages/csi_lvm_iscsi
RUN python3 -m compileall -q --invalidation-mode unchecked-hash -s /image /image
RUN mkdir /image/usr/local/bin \
 && printf '%s\n' '#!/usr/bin/python3 -I' 'import sys' 'from csi_lvm_iscsi.cli import main' \
      'sys.exit(main())' >/image/usr/local/bin/csi-lvm-iscsi \
 && chmod 755 /image/usr/local/bin/csi-lvm-iscsi

FROM ${BASE}
# tgt's package would bring Perl for scripts that nothing here runs: its libraries are enough.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      python3 e2fsprogs xfsprogs util-linux mount libaio1 libibverbs1 librdmacm1 libsystemd0 \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/doc /usr/share/man \
      /usr/share/locale /usr/share/info
COPY --from=packages /usr/sbin/tgtd /usr/sbin/tgtadm /usr/sbin/
COPY --from=packages /image /
COPY --from=code /image /
ENV LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["csi-lvm-iscsi"]
ARG VERSION=unknown REVISION=unknown
LABEL org.opencontainers.image.title="csi-lvm-iscsi" \
      org.opencontainers.image.description="LVM volumes over iSCSI for pods and virtual machines: all roles, and tgtd" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/csi-lvm-iscsi/csi-lvm-iscsi" \
      org.opencontainers.image.documentation="https://github.com/csi-lvm-iscsi/csi-lvm-iscsi/tree/main/docs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
