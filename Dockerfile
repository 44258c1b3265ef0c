# A small CPU image whose entry point is the command line:
#   docker build -t compress .
#   docker run --rm -v "$PWD:/work" compress --export onnx model.pt
FROM python:3.12-slim AS build
COPY pyproject.toml README.md LICENSE /src/
COPY compressor /src/compressor
COPY exporters /src/exporters
# The CPU builds of torch and torchvision: a tenth of the size of the CUDA ones.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/compress \
    && /opt/compress/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision \
    && /opt/compress/bin/pip install --no-cache-dir "/src[vision]"

FROM python:3.12-slim
COPY --from=build /opt/compress /opt/compress
RUN useradd --create-home --uid 1000 compress
USER compress
WORKDIR /work
ENV PATH=/opt/compress/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["compress"]
CMD ["--help"]
