"""Options that keep the driver's JVM small; `python -m sentiment.tables.jvm` prints them for a shell."""

OPTIONS = " ".join(
    (
        # The model does the work: the second compiler's code costs more memory than it saves time.
        "-XX:TieredStopAtLevel=1",
        # G1 starts with a 64th of the machine's memory, and grows back to it fast after it has shrunk.
        *("-XX:InitialHeapSize=96m", "-XX:NewSize=64m"),
        # It grows the heap when short collections come close together, as they do while a large file is
        # read, and where much of it was garbage when it was marked: the job holds only about 70 MB.
        *("-XX:GCTimeRatio=1", "-XX:MinHeapFreeRatio=5", "-XX:MaxHeapFreeRatio=30"),
        # A step of growth is a fifth of what is left, if nobody says else. Java calls the option
        # experimental: a later one may not know it, and must start all the same.
        *("-XX:+IgnoreUnrecognizedVMOptions", "-XX:+UnlockExperimentalVMOptions"),
        "-XX:G1ExpandByPercentOfAvailable=1",
        # Each thread keeps a copy of the largest buffer that it has read a file with.
        "-Djdk.nio.maxCachedBufferSize=262144",
        # No collector is chosen: Java does not start with two, and a platform may name its own.
    )
)

if __name__ == "__main__":
    print(OPTIONS)
