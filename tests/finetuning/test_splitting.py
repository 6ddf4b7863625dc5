from pathlib import Path

from mmdwnet.finetuning.found import Object, Sample
from mmdwnet.finetuning.splitting import split_off


def _name(sample: Sample) -> str:
    return sample.path.name


def _samples(labels: list[set[int]], root: str = '/a') -> list[Sample]:
    return [
        Sample(
            Path(root, f'{number}.jpg'),
            (9, 9),
            objects=tuple(Object(label, (0, 0, 9, 9)) for label in sorted(one)),
        )
        for number, one in enumerate(labels)
    ]


def _count(samples: list[Sample], label: int) -> int:
    return sum(label in {one.label for one in sample.objects} for sample in samples)


def test_each_class_gives_its_share() -> None:
    samples = _samples([{0}] * 50 + [{1}] * 20 + [{2}] * 2 + [set()] * 10)
    train, val = split_off(samples, 0.2, _name)
    assert [_count(val, label) for label in range(3)] == [10, 4, 1]
    assert sum(not sample.objects for sample in val) == 2
    assert sorted(train + val, key=samples.index) == samples


def test_images_of_many_classes_are_not_taken_too_often() -> None:
    samples = _samples([{0, 1}] * 40 + [{0}] * 60 + [{0, 1, 2}] * 10)
    _, val = split_off(samples, 0.2, _name)
    assert [_count(val, label) for label in range(3)] == [22, 10, 2]


def test_one_image_of_each_class_stays_in_training() -> None:
    samples = _samples([{0, 1}, {0, 2}, {0, 1}, {0, 3}, {0}])
    train, val = split_off(samples, 0.9, _name)
    assert all(_count(train, label) for label in range(4))
    assert val


def test_a_single_image_of_each_class_gives_one_to_validate() -> None:
    train, val = split_off(_samples([{0}, {1}, {2}]), 0.2, _name)
    assert (len(train), len(val)) == (2, 1)


def test_the_same_split_wherever_the_data_are() -> None:
    labels = [{number % 3} for number in range(60)]
    here, there = (split_off(_samples(labels, root), 0.2, _name)[1] for root in ('/a', '/b/c'))
    assert [_name(one) for one in here] == [_name(one) for one in there]
    # Which it is on each machine, too.
    assert [_name(one) for one in here][:3] == ['0.jpg', '1.jpg', '19.jpg']
