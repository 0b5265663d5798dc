# The REST service as an image: `docker build -t sentiment .`; see docs/deploy.md.
# The tag is exact. Pin a digest for production: FROM python@sha256:…
FROM python:3.12.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/sentiment
WORKDIR /source
COPY setup.py pyproject.toml README.md ./
COPY sentiment sentiment
RUN /opt/sentiment/bin/pip install ".[serve,signing,telemetry]"

FROM python:3.12.11-slim-bookworm
RUN groupadd --gid 10001 sentiment \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sentiment
COPY --from=build /opt/sentiment /opt/sentiment
# The root file system may be read-only. /tmp holds the private copy of the model, so it needs twice its size.
ENV PATH=/opt/sentiment/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=90s --start-interval=2s CMD ["python", "-c", \
    "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8080, timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "sentiment.serving"]
CMD ["--host", "0.0.0.0"]
