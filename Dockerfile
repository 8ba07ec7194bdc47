# A build in a container. Nobody has run this file yet.
#     docker build -t task-bundler .
#     docker run -v "$PWD/out:/work/out" task-bundler build openai-community/gpt2 -o out/gpt2
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /work
COPY . .
RUN make setup
ENTRYPOINT [".venv/bin/task-bundler"]
CMD ["build", "gpt2_training/sample", "-o", "out/sample"]
