# One image for every service: `docker run IMAGE gateway -c /etc/fastcore/gateway.yaml`.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev zlib1g-dev libssl-dev libnghttp2-dev libbrotli-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /opt/fastcore && /opt/fastcore/bin/pip install --no-cache-dir '.[redis]'

FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends zlib1g libssl3 libnghttp2-14 libbrotli1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /var/lib/fastcore fastcore
COPY --from=build /opt/fastcore /opt/fastcore
ENV PATH=/opt/fastcore/bin:$PATH
USER fastcore
WORKDIR /var/lib/fastcore
# TERM drains: in-flight requests finish before the container stops.
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastcore"]
CMD ["--help"]
