"""Define options that keep the driver's JVM small; `python -m sentiment.tables.jvm` prints them."""

# The collector returns heap that holds garbage, instead of growing it to save time: the model does the work.
# No collector is chosen, because a platform may choose one, and Java does not start with two.
OPTIONS = "-XX:GCTimeRatio=1 -XX:MinHeapFreeRatio=5 -XX:MaxHeapFreeRatio=30"

if __name__ == "__main__":
    print(OPTIONS)
