"""Limit Spark's read of an input file to the splits that hold the wanted rows."""

from py4j.java_gateway import JavaObject
from pyspark.sql import DataFrame


def keep_splits(rows: DataFrame, start_byte: int, stop_byte: int) -> DataFrame:
    """Keep only the rows in splits (parts of the file) that overlap bytes [start_byte, stop_byte).

    `rows` must be read from one file without a join or grouping. Spark has no public way to read a part of
    a file, and a filter on the row number decodes all rows first. Select columns before the call: a later
    selection does not make Spark read fewer.
    """
    spark = rows.sparkSession
    jvm = spark.sparkContext._jvm
    assert jvm is not None  # a session that has read rows has a JVM
    read = rows._jdf.queryExecution().toRdd()
    wanted = jvm.java.util.HashSet()
    for partition in read.partitions():
        if any(_overlaps(split, start_byte, stop_byte) for split in partition.files()):
            wanted.add(partition.index())
    # A Scala set is also a function that tests membership, so no Java class of our own is needed.
    is_wanted = jvm.scala.jdk.javaapi.CollectionConverters.asScala(wanted).toSet()
    kept = jvm.org.apache.spark.rdd.PartitionPruningRDD.create(read, is_wanted)
    return DataFrame(spark._jsparkSession.internalCreateDataFrame(kept, rows._jdf.schema(), False), spark)


def _overlaps(split: JavaObject, start_byte: int, stop_byte: int) -> bool:
    """Return True on overlap: then the split with the middle of a row group, which reads it, counts."""
    return bool(split.start() < stop_byte and split.start() + split.length() > start_byte)
