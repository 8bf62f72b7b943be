.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
STUBS := csi_lvm_iscsi/rpc/pb
PROTOS := $(addprefix $(STUBS)/,csi.proto storage.proto pluginregistration.proto)
PROTOC := $(PY) -m grpc_tools.protoc -I$(STUBS)=proto \
	--python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. \
	--plugin=protoc-gen-mypy=.venv/bin/protoc-gen-mypy \
	--plugin=protoc-gen-mypy_grpc=.venv/bin/protoc-gen-mypy_grpc

.PHONY: help
help: ## This list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

.PHONY: install
install: .venv/ready ## The virtual environment .venv, with what requirements.lock pins

.venv/ready: requirements.lock pyproject.toml
	@command -v python3 >/dev/null && python3 -c 'import ensurepip' 2>/dev/null || \
		{ echo "== installing python3-venv (apt-get)"; apt-get -q update && apt-get -q -y install python3-venv; }
	@echo "== making .venv and installing what requirements.lock pins"
	@python3 -m venv .venv
	@.venv/bin/pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements.lock
	@.venv/bin/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: install ## The main job, told as it happens, on real LVM, tgt and iSCSI in the lab
	@$(PY) -m tests.e2e.demo

.PHONY: demo-kubernetes
demo-kubernetes: install ## The same as a user of Kubernetes sees it; the first run builds Kubernetes from source
	@$(PY) -m tests.e2e.demo.kubernetes

.PHONY: demo-kubevirt
demo-kubevirt: install ## A volume attached to a virtual machine that runs, with KubeVirt; the first run builds that, too
	@$(PY) -m tests.e2e.demo.kubevirt

.PHONY: test
test: check unit e2e ## Static checks, unit tests, lab tests

.PHONY: check
check: install check-generated ## ruff, mypy --strict, import-linter, generated stubs
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: unit
unit: install ## Unit tests
	$(PY) -m pytest tests/unit --numprocesses 2

.PHONY: e2e
e2e: install ## Tests in the lab, in two labs at once
	@$(PY) -m tests.e2e.lab.prerequisites
	@$(PY) -m tests.e2e.sanity
	$(PY) -m pytest tests/e2e --ignore tests/e2e/kubernetes --ignore tests/e2e/kubevirt -m 'not slow' --numprocesses 2 --dist loadfile --durations 10

.PHONY: test-kubernetes
test-kubernetes: install ## The driver in a real Kubernetes in the lab; the first run builds Kubernetes from source
	$(PY) -m pytest tests/e2e/kubernetes --durations 10 -s

.PHONY: test-kubevirt
test-kubevirt: install ## Volumes in virtual machines of real KubeVirt in the lab; the first run builds KubeVirt from source
	$(PY) -m pytest tests/e2e/kubevirt --durations 10 -s

.PHONY: conformance-kubernetes
conformance-kubernetes: install ## All of Kubernetes' own storage tests, an hour or two; goes on where it was; writes docs/conformance.md
	$(PY) -m tests.e2e.kubernetes.suite

.PHONY: test-chart
test-chart: install ## The Helm chart: values, renders, and what a real API server says of it
	@$(PY) -m tests.e2e.lab.prerequisites
	@$(PY) -m tests.e2e.lab.kubernetes.builds helm etcd kube-apiserver kubectl
	$(PY) -m pytest tests/chart

.PHONY: manifests
manifests: install ## Write deploy/manifests and the table of values in the chart's README
	$(PY) -m tests.chart.write

.PHONY: test-growth
test-growth: install ## 100 growths of a volume under a verifying writer, in the lab
	@$(PY) -m tests.e2e.lab.prerequisites
	$(PY) -m pytest tests/e2e/test_growth.py -m slow -s

.PHONY: test-chaos
test-chaos: install ## Random operations with one fault at a time in the lab, for an hour or two; CHAOS_SEED=N repeats
	@$(PY) -m tests.e2e.lab.prerequisites
	$(PY) -m pytest tests/e2e/test_chaos.py -m slow

.PHONY: test-discard
test-discard: install ## fstrim with a tgtd that can: CSI_TGTD=/path/to/tgtd (1.0.90 or later; Debian 12 has none)
	@$(PY) -m tests.e2e.lab.prerequisites
	CSI_TGTD=$(CSI_TGTD) $(PY) -m pytest tests/e2e/test_discard.py -s

.PHONY: record
record: install ## Kill the storage role after every action in the lab; record that for the unit tests
	$(PY) -m pytest tests/e2e/test_crashes.py --record

.PHONY: sanity
sanity: install ## csi-sanity three times in a row, each in a new lab and in another order
	@$(PY) -m tests.e2e.sanity
	@for run in 1 2 3; do echo "== run $$run of 3"; $(PY) -m pytest tests/e2e/test_sanity.py || exit; done

.PHONY: conformance
conformance: install ## Write what came of csi-sanity to docs/conformance.md
	@$(PY) -m tests.e2e.sanity
	$(PY) -m pytest tests/e2e/test_sanity.py --record

.PHONY: bench
bench: install ## Time of our RPCs beside the bare commands, alternating, in one lab run
	@$(PY) -m tests.e2e.bench

.PHONY: generate
generate: install ## Generate the stubs in csi_lvm_iscsi/rpc/pb from proto/
	$(PROTOC) $(PROTOS)

.PHONY: check-generated
check-generated: install
	@out=$$(mktemp -d) && trap 'rm -rf $$out' EXIT && \
	$(subst _out=.,_out=$$out,$(PROTOC)) $(PROTOS) 2>/dev/null && \
	for stub in $(notdir $(wildcard $(STUBS)/*_pb2*)); do \
		diff -q $$out/$(STUBS)/$$stub $(STUBS)/$$stub || { echo "stubs differ from proto/: run make generate"; exit 1; }; \
	done

.PHONY: lock
lock: install ## Pin dependencies anew in requirements.lock
	.venv/bin/pip install -q uv
	.venv/bin/uv pip compile --generate-hashes --universal --python-version 3.11 --extra dev \
		--no-header --upgrade -o requirements.lock pyproject.toml
	.venv/bin/uv pip compile --generate-hashes --universal --python-version 3.11 \
		--no-header --constraints requirements.lock -o requirements-image.lock pyproject.toml

.PHONY: clean
clean: ## Remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
