# syntax=docker/dockerfile:1
#
#   docker build --tag angiometry .
#   docker run --rm --publish 127.0.0.1:8000:8000 --volume angiometry:/data angiometry
#
# Publish on 127.0.0.1 as above: this version asks nobody who they are.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# ---- build: a virtual environment with the serving install, no torch ----
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/angiometry
WORKDIR /src
# Dependencies first: they change less often than the code, and their layer is kept.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN /opt/angiometry/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && /opt/angiometry/bin/pip install --constraint constraints.txt --requirement requirements.txt
COPY angiometry.py ./
COPY imaging imaging
COPY model model
COPY analysis analysis
COPY datasets datasets
COPY training training
COPY service service
RUN /opt/angiometry/bin/pip install --no-deps . \
    && /opt/angiometry/bin/pip uninstall --yes pip setuptools

# ---- run ----
# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
ARG GIT_REVISION=""
ENV ANGIOMETRY_GIT_REVISION=${GIT_REVISION} \
    ANGIOMETRY_DATA_DIR=/data \
    ANGIOMETRY_HOST=0.0.0.0 \
    ANGIOMETRY_PORT=8000 \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/angiometry/bin:$PATH
COPY --from=build /opt/angiometry /opt/angiometry
# Named by number, so that an orchestrator can see that it is not root.
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# --insecure: inside a container the service has to listen on every address to be published at all.
# Who may reach it is decided where it is published, hence 127.0.0.1 in the command above.
CMD ["angiometry", "serve", "--insecure"]
