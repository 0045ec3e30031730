# Two stages: build with everything, run with what the binary links. Configuration comes in as files under /etc/millrace, state lives in /var/lib/millrace.
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY scripts/install-deps scripts/install-deps
RUN scripts/install-deps
COPY . .
RUN cmake --preset release -DMILLRACE_TESTS=OFF && cmake --build --preset release --target millrace \
 && install -D build/release/millrace /out/usr/local/bin/millrace \
 && mkdir -p /out/usr/local/lib && cp -a /usr/local/lib/librdkafka.so* /out/usr/local/lib/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libyaml-cpp0.7 librocksdb7.8 \
      libprometheus-cpp-core1.0 libsimdjson14 libfmt9 libspdlog1.10 libre2-9 libxxhash0 libjemalloc2 libcurl4 libsasl2-2 liblz4-1 libzstd1 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /
RUN ldconfig && /usr/local/bin/millrace version
RUN mkdir -p /var/lib/millrace /etc/millrace && chown 65532:65532 /var/lib/millrace
USER 65532:65532
WORKDIR /var/lib/millrace
VOLUME /var/lib/millrace
EXPOSE 7490
# SIGTERM decides the open epoch and exits; give it longer than shutdown.grace.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/millrace"]
CMD ["run", "-c", "/etc/millrace/millrace.yaml"]
