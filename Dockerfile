# Any image with Python 3.11 or newer and pip, such as your own registry's copy of this one.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
# An environment without pip in it: what goes in comes from the pip out here.
RUN python -m venv --without-pip /opt/loom
COPY requirements/server.lock requirements/
RUN pip --python /opt/loom/bin/python install --no-cache-dir --require-hashes -r requirements/server.lock
COPY pyproject.toml README.md LICENSE ./
COPY loom_grpc loom_grpc
# What builds the package is locked with the rest, and has no place in what runs.
RUN pip --python /opt/loom/bin/python install --no-cache-dir --no-deps --no-build-isolation . \
 && pip --python /opt/loom/bin/python uninstall --yes hatchling packaging pathspec pluggy tomlkit trove-classifiers

FROM ${BASE}
# The standard library comes without its compiled files, and on a read-only root file system nobody can write them later.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin loom \
 && install --directory --owner loom --mode 700 /var/lib/loom-grpc \
 && install --directory /etc/loom-grpc \
 && standard_library="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && rm -rf /usr/local/bin/pip* "$standard_library"/ensurepip "$standard_library"/site-packages/* \
 && python -m compileall -q "$standard_library"
COPY --from=build /opt/loom /opt/loom
ENV PATH=/opt/loom/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_STATE_HOME=/var/lib
# Accounts that are added while the server runs, keys, records, and records on their way: all that is ever written.
VOLUME /var/lib/loom-grpc
USER 10001
# Where loom.yaml is looked for.
WORKDIR /etc/loom-grpc
EXPOSE 50051 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s CMD ["loom-grpc", "health"]
ENTRYPOINT ["loom-grpc"]
# Reachable from outside the container, so it starts only with access control configured: mount a file at /etc/loom-grpc/loom.yaml.
CMD ["serve", "--grpc-address", "0.0.0.0:50051", "--http-address", "0.0.0.0:8080"]
