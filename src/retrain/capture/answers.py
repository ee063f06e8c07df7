"""Answers: which value of a response is the prediction.

By default it is the only value of a row's answer. Of several, it is the class that a softmax over the known classes
finds most probable. Anything else could be read in two ways, and nobody guesses: the owner says which value it is, by
its name or its index (0 is the first), as Model Monitor's `inference_attribute` and `probability_attribute` do. Values
that repeat the question, as a batch transform job writes them with `JoinSource=Input`, are no answer and do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrain.capture.payload import Row
from retrain.capture.quarantine import UnreadableError
from retrain.model.table import class_order
from retrain.model.values import parse_number

_SUM = 1e-3  # by which the probabilities of a softmax may miss 1


@dataclass(frozen=True)
class Answers:
    """How an answer is read: `attribute` is the prediction's name or index, `classes` are those the baseline knows."""

    attribute: str | int | None = None
    classes: tuple[str, ...] = ()

    @property
    def index(self) -> int | None:
        """The prediction's place in an answer without names, if that is known before it is seen."""
        return self.attribute if isinstance(self.attribute, int) else None

    def prediction(self, answer: Row, names: Sequence[str] | None = None) -> str:
        """The answer's prediction; `names` are those of its values. Raises UnreadableError.

        >>> Answers().prediction(["0.25"]), Answers("score").prediction(["0", "0.25"], ["predicted_label", "score"])
        ('0.25', '0.25')
        >>> Answers(classes=("cat", "dog")).prediction(["0.1", "0.9"])
        'dog'
        """
        if isinstance(self.attribute, str) and names is not None:
            if self.attribute not in names:
                raise UnreadableError("other_names", "the answer has no value of the prediction's name")
            return answer[names.index(self.attribute)]
        if isinstance(self.attribute, int):
            if self.attribute >= len(answer):
                raise UnreadableError("too_short", "the answer has no value at the prediction's place")
            return answer[self.attribute]
        if len(answer) == 1:
            return answer[0]
        found = self._most_probable(answer)
        if found is None:
            raise UnreadableError("ambiguous", "an answer has several values, and nobody said which is the prediction")
        return found

    def _most_probable(self, answer: Row) -> str | None:
        if len(answer) != len(self.classes):
            return None
        chances = [parse_number(text) for text in answer]
        known = [chance for chance in chances if chance is not None and 0 <= chance <= 1]
        if len(known) < len(answer) or abs(sum(known) - 1) > _SUM:
            return None
        return sorted(self.classes, key=class_order)[known.index(max(known))]


def without_question(answer: Row, question: Row) -> Row:
    """The answer without the values of the question that it begins with, if there is more of it.

    >>> without_question(["44", "87", "0.0943"], ["44", "87"]), without_question(["44"], ["44"])
    (['0.0943'], ['44'])
    """
    width = len(question)
    return answer[width:] if width and len(answer) > width and answer[:width] == question else answer
