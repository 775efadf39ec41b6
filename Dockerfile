# voiceagent for the CPU. `make test-image` carries out these very instructions in an empty Debian, without Docker.
FROM debian:trixie-slim

COPY docker/build.sh /src/docker/build.sh
RUN /src/docker/build.sh system

COPY docker/requirements.lock /src/docker/requirements.lock
RUN /src/docker/build.sh packages

COPY pyproject.toml README.md LICENSE /src/
COPY voiceagent /src/voiceagent
COPY assets /src/assets
COPY client /src/client
RUN /src/docker/build.sh project && rm -r /src

# "mounted" leaves the models out: mount a folder at /models, filled by `voiceagent models fetch --dir FOLDER`.
ARG MODELS=baked
COPY docker /usr/local/lib/voiceagent
RUN MODELS=${MODELS} /usr/local/lib/voiceagent/build.sh models

ENV PATH=/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    VOICEAGENT_MODELS_DIR=/models \
    VOICEAGENT_SERVER__HOST=0.0.0.0 \
    HOME=/data \
    PYTHONDONTWRITEBYTECODE=1

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["/app/bin/python", "/usr/local/lib/voiceagent/healthcheck.py"]
ENTRYPOINT ["/usr/local/lib/voiceagent/entrypoint.sh"]
