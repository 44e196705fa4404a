FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/loom
COPY requirements/server.lock requirements/
RUN pip --python /opt/loom/bin/python install --no-cache-dir --require-hashes -r requirements/server.lock
COPY pyproject.toml README.md LICENSE ./
COPY loom_grpc loom_grpc
RUN pip --python /opt/loom/bin/python install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --system --uid 10001 loom && install --directory --owner loom --mode 700 /var/lib/loom-grpc
COPY --from=build /opt/loom /opt/loom
ENV PATH=/opt/loom/bin:$PATH PYTHONUNBUFFERED=1 LOOM_CREDENTIALS__FILE=/var/lib/loom-grpc/credentials.json
# Accounts that are added or logged in while the server runs, and how all accounts fare.
VOLUME /var/lib/loom-grpc
USER 10001
WORKDIR /tmp
EXPOSE 50051 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s CMD ["loom-grpc", "health"]
ENTRYPOINT ["loom-grpc"]
# Reachable from outside the container, so it starts only with access control configured: mount a file and add --config.
CMD ["serve", "--grpc-address", "0.0.0.0:50051", "--http-address", "0.0.0.0:8080"]
