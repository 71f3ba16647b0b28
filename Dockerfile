# skelpipe on a CPU. This file is short and was not built in the project's tests; please report problems.
#
#     docker build -t skelpipe .
#     docker run --rm -v "$PWD:/data" -w /data skelpipe extract --estimator vitpose videos/
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends make g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/skelpipe
COPY . .
# Installs the versions in uv.lock.
RUN make setup

FROM python:3.13-slim
COPY --from=build /opt/skelpipe /opt/skelpipe
# Weights are downloaded once into the cache; mount a volume to keep them.
ENV PATH="/opt/skelpipe/.venv/bin:$PATH" SKELPIPE_CACHE=/cache
VOLUME /cache
ENTRYPOINT ["skelpipe"]
