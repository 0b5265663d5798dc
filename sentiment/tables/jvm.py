"""Define options that keep the driver's JVM small; `python -m sentiment.tables.jvm` prints them."""

OPTIONS = " ".join(
    (
        # The model does the work, so the code of Java's second compiler is not worth its memory.
        "-XX:TieredStopAtLevel=1",
        # By default G1 starts with 1/64 of the machine's memory, and quickly grows back to that size.
        *("-XX:InitialHeapSize=96m", "-XX:NewSize=64m"),
        # G1 also grows the heap when short collections are frequent, as while a large file is read, and
        # when it finds much garbage. The job holds only about 70 MB.
        *("-XX:GCTimeRatio=1", "-XX:MinHeapFreeRatio=5", "-XX:MaxHeapFreeRatio=30"),
        # By default the heap grows by a fifth of what is left. The option is experimental: a later Java may
        # not know it, and must start anyway.
        *("-XX:+IgnoreUnrecognizedVMOptions", "-XX:+UnlockExperimentalVMOptions"),
        "-XX:G1ExpandByPercentOfAvailable=1",
        # Each thread caches the largest buffer that it has used to read a file.
        "-Djdk.nio.maxCachedBufferSize=262144",
        # No collector is chosen here: a platform may choose one, and Java does not start with two.
    )
)

if __name__ == "__main__":
    print(OPTIONS)
