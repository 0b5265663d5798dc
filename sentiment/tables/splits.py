"""The splits of an input file in which Spark reads it: only those that hold the rows in question."""

from py4j.java_gateway import JavaObject
from pyspark.sql import DataFrame


def keep_splits(rows: DataFrame, start_byte: int, stop_byte: int) -> DataFrame:
    """The same rows without the splits of their file that begin and end outside these bytes.

    `rows` are read from one file, row by row: no join, no grouping. Spark has no public way to read a
    part of a file, and a filter on the row's number decodes all rows first. Which columns are read is
    settled here: what is selected from the result later does not make Spark read fewer.
    """
    spark = rows.sparkSession
    jvm = spark.sparkContext._jvm
    assert jvm is not None  # a session that has read rows has a JVM
    read = rows._jdf.queryExecution().toRdd()
    wanted = jvm.java.util.HashSet()
    for partition in read.partitions():
        if any(_overlaps(split, start_byte, stop_byte) for split in partition.files()):
            wanted.add(partition.index())
    # A set of Scala is a function too, from what may be in it to whether it is: no class of ours is needed.
    is_wanted = jvm.scala.jdk.javaapi.CollectionConverters.asScala(wanted).toSet()
    kept = jvm.org.apache.spark.rdd.PartitionPruningRDD.create(read, is_wanted)
    return DataFrame(spark._jsparkSession.internalCreateDataFrame(kept, rows._jdf.schema(), False), spark)


def _overlaps(split: JavaObject, start_byte: int, stop_byte: int) -> bool:
    """Spark gives a row group to the split that has its middle, which the group's own bytes surround."""
    return bool(split.start() < stop_byte and split.start() + split.length() > start_byte)
