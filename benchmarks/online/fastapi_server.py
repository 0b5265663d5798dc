"""Serve a transformers pipeline (arguments FOLDER and PORT) by FastAPI, as in tutorials.

FastAPI runs the endpoint, a normal function, in a thread pool; torch uses all cores.
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Review(BaseModel):
    text: str


def create_app(folder: str) -> FastAPI:
    app = FastAPI()
    classifier = pipeline("text-classification", model=folder, device="cpu")

    @app.post("/predict")
    def predict(review: Review) -> dict[str, object]:
        # Without `truncation`, a review of more than 512 tokens is an error.
        answer: dict[str, object] = classifier(review.text, truncation=True)[0]
        return answer

    @app.get("/health")
    def say_alive() -> str:
        return "ok"

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
