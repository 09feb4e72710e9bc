"""What an evaluator is asked and answers survives JSON, pickling and processes."""

import json
import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.errors import CmtSearchError
from cmt_search.evaluation import CurvePoint, Fidelity, Measurement, TrainingFailed

reals = st.floats(0, 1e6)
points = st.builds(
    CurvePoint, epoch=st.integers(1, 999), train_loss=reals, loss=reals, top1=st.floats(0, 1)
)
measurements = st.builds(
    Measurement,
    top1=st.floats(0, 1),
    loss=reals,
    curve=st.lists(points, max_size=4).map(tuple),
    correct=st.binary(max_size=40),
    images=st.integers(0, 10**6),
    seconds=reals,
    seed=st.integers(0, 2**31),
    device=st.sampled_from(["cpu", "NVIDIA H100"]),
)


@given(measurement=measurements)
def test_a_measurement_survives_json_and_pickling_bit_for_bit(measurement: Measurement) -> None:
    text = json.dumps(measurement.to_dict(), allow_nan=False)
    assert Measurement.from_dict(json.loads(text)) == measurement
    assert pickle.loads(pickle.dumps(measurement)) == measurement


def test_a_fidelity_is_by_default_all_images_at_the_network_s_own_resolution() -> None:
    assert Fidelity(epochs=3).to_dict() == {"epochs": 3, "data_fraction": 1.0, "image_size": None}


def test_fidelities_are_frozen_and_hashable_since_measurements_are_reused_by_them() -> None:
    fidelity = Fidelity(epochs=3)
    with pytest.raises(FrozenInstanceError):
        fidelity.epochs = 4  # type: ignore[misc]
    assert {fidelity: 1}[Fidelity(epochs=3)] == 1


def test_a_failed_training_carries_its_reason_between_processes_and_is_no_user_error() -> None:
    failure = pickle.loads(pickle.dumps(TrainingFailed("loss is NaN in epoch 2")))
    assert isinstance(failure, TrainingFailed)
    assert str(failure) == "loss is NaN in epoch 2"
    assert not isinstance(failure, CmtSearchError)


@pytest.mark.parametrize("values", [{"epochs": 0}, {"epochs": 1, "data_fraction": 0.0}])
def test_a_fidelity_that_trains_nothing_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(
        CmtSearchError, match=r"fidelity\.(epochs|data_fraction)=0.* is not possible; use a"
    ):
        Fidelity(**values)  # type: ignore[arg-type]
