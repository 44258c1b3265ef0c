from pathlib import Path

from compressor.core.measurement import MachineFacts, Measurement


def test_samples_of_all_processes_in_order():
    facts = MachineFacts("cpu", 2, 2, 1024, "Linux", "3.11")
    measurement = Measurement("torch:cpu", Path("a"), "00", 1, 1, ((0.1, 0.2), (0.3,)), ((), ()), facts)
    assert measurement.samples_s == (0.1, 0.2, 0.3)
