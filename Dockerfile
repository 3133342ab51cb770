# The bridge as an image: docs/run/install.md says how it is built and run.
#
#   docker build -t bridge .                                      or: buildah build --format docker -t bridge .
#   docker build --build-arg BASE=my/python:3.13-slim -t bridge . any base with Python 3.11 or newer and its venv module
#   docker build --secret id=pip,src=pip.conf -t bridge .         a package index of your own; it stays out of the image
#
# It runs as user 10001 on a read-only root; it writes to /run/bridge (the admin socket) and /var/lib/bridge (messages
# that no broker takes), and its configuration is /etc/bridge/bridge.yaml.

ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY bridge bridge
# The tools that install are in an environment of their own, so that none of them comes into the image. What is compiled
# here need not be compiled at each start, which on a read-only root could not keep it. Left out: tests of libraries, the
# sources of what is there as machine code, zstandard's second backend, which is for PyPy, and commands of libraries.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,mode=0444 \
    set -eu; \
    python3 -m venv /tools; \
    python3 -m venv --without-pip /opt/bridge; \
    /tools/bin/pip install --no-input --no-cache-dir --disable-pip-version-check -q -c constraints.txt hatchling; \
    /tools/bin/pip wheel --no-input --no-cache-dir --disable-pip-version-check -q --no-deps --no-build-isolation -w /wheels .; \
    /tools/bin/pip --python /opt/bridge/bin/python install --no-input --no-cache-dir --disable-pip-version-check -q \
        --only-binary :all: --no-compile -c constraints.txt /wheels/*.whl; \
    cd /opt/bridge/lib/python3.*/site-packages; \
    rm -rf gevent/tests gevent/testing greenlet/tests certifi/tests zope/interface/tests zope/interface/common/tests \
        zstandard/_cffi*.so; \
    find . -type f \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' \) -delete; \
    /opt/bridge/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash .; \
    find /opt/bridge/bin -type f ! -name bridge -delete; \
    mkdir -p /made/etc/bridge /made/run/bridge /made/var/lib/bridge; \
    chown -R 10001:10001 /made/run/bridge /made/var/lib/bridge

FROM ${BASE}
LABEL org.opencontainers.image.title="celery-quorum-bridge" \
      org.opencontainers.image.description="Moves a live Celery installation from RabbitMQ classic queues to quorum queues" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/bridge /opt/bridge
COPY --from=build /made/ /
ENV PATH=/opt/bridge/bin:/usr/local/bin:/usr/bin:/bin \
    BRIDGE_CONFIG=/etc/bridge/bridge.yaml \
    HOME=/var/lib/bridge \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# As numbers: Kubernetes takes no name for what is not root. It has no entry in passwd, and needs none.
USER 10001:10001
WORKDIR /var/lib/bridge
# The loop turns; a bridge that waits for its brokers is healthy. For orchestrators with two questions: /livez, /readyz.
HEALTHCHECK --interval=15s --timeout=6s --start-period=60s --retries=3 CMD ["/opt/bridge/bin/bridge", "health"]
# It finishes what is in flight, for up to 30 s: stop it with that grace period, `docker stop -t 60`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/bridge/bin/bridge"]
CMD ["run"]
