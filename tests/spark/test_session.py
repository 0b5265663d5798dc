"""The options of the session's JVM."""

from pyspark.sql import SparkSession

from sentiment.tables import jvm


def _read_options(spark: SparkSession) -> list[str]:
    assert spark._jvm is not None
    beans = spark._jvm.java.lang.management.ManagementFactory
    return list(beans.getRuntimeMXBean().getInputArguments())


def test_jvm_that_python_starts_has_the_options_that_keep_it_small(spark: SparkSession) -> None:
    assert set(jvm.OPTIONS.split()) <= set(_read_options(spark))


def test_options_that_spark_was_given_come_later(spark: SparkSession) -> None:
    options = _read_options(spark)

    assert max(options.index(name) for name in jvm.OPTIONS.split()) < options.index("-Xmx1g")
