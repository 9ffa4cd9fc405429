# azlib and JupyterLab on its lessons; docs/elsewhere.md says how to run it.
FROM python:3.13-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 student
USER 1000
WORKDIR /home/student/azlib
COPY --chown=1000 . .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN make .venv/.ready TORCH_INDEX="$TORCH_INDEX"
# JupyterLab can be reached from outside the container, and looks for no browser inside of it.
RUN mkdir /home/student/.jupyter \
    && echo '{"ServerApp": {"ip": "0.0.0.0", "port": 8888, "open_browser": false}}' \
       > /home/student/.jupyter/jupyter_server_config.json
EXPOSE 8888
CMD ["make", "lab"]
