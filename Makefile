# The commands of Millrace. `make run` and `make test` are all a newcomer needs; CONTRIBUTING.md explains the rest.
.PHONY: run build test asan tsan soak bench clean deps

build/release/millrace: deps
	cmake --preset release >/dev/null
	cmake --build --preset release --target millrace

deps:
	scripts/install-deps

build: build/release/millrace

# Installs what is missing, builds, runs the quickstart: no broker, ends by itself.
run: build
	build/release/millrace run configs/quickstart.yaml
	@scripts/show-quickstart out/quickstart/revenue.jsonl

# Every test: unit, golden, driver and integration tests on the release build, unit and driver tests under ASan+UBSan.
test:
	scripts/test

asan:
	scripts/test-sanitizer asan-ubsan

tsan:
	scripts/test-sanitizer tsan

# Long campaigns: kill -9 on a real broker, crash points, mutants, seeds.
soak:
	scripts/soak

# Side by side with the peer rig; prints ratios.
bench:
	scripts/bench

clean:
	rm -rf build
