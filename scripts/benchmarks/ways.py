"""The ways from topic to DataFrame that are measured beside each other."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way from topic to DataFrame: its script, its variant, and how it is called in the table."""

    script: str
    way: str
    title: str
    c_client: bool = False  # librdkafka underneath: among these is the best peer


WAYS = {
    "ours": Way("ours", "native", "read_topic, native core"),
    "ours_pure": Way("ours", "python", "read_topic, pure Python"),
    "batches": Way("ours_batches", "", "read_batches, 64 MB"),
    "naive": Way("naive", "", "kafka-python loop + json.loads"),
    "kafka_python": Way("kafka_python", "", "kafka-python poll + pyarrow"),
    "aiokafka": Way("aiokafka_arrow", "", "aiokafka + pyarrow"),
    "confluent_json": Way("confluent", "json", "confluent-kafka + json", True),
    "confluent_orjson": Way("confluent", "orjson", "confluent-kafka + orjson", True),
    "confluent_arrow": Way("confluent", "arrow", "confluent-kafka + pyarrow", True),
    "kafkarrow": Way("kafkarrow_arrow", "", "kafkarrow + pyarrow", True),
    "kcat_arrow": Way("kcat", "arrow", "kcat pipe + pyarrow"),
    "kcat_polars": Way("kcat", "polars", "kcat pipe + polars"),
    "kcat_duckdb": Way("kcat", "duckdb", "kcat pipe + duckdb"),
    "roof": Way("roof", "kafka-python", "the roof: fetch only"),
    "bare_roof": Way("roof", "in-place", "fetch only, batches not copied"),
}
