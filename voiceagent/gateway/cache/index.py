"""The kept questions of a scope by what they mean, in memory."""

from collections import OrderedDict, defaultdict

import numpy as np

from voiceagent.gateway.cache.meaning import MeaningModel, Vector
from voiceagent.gateway.cache.question import Question, Scope
from voiceagent.gateway.cache.sense.compare import Sense, agree, same, sense_of
from voiceagent.gateway.cache.store import CacheStore, News

MOST_SCOPES = 64
"""Whose questions are held; those of another one are read again from the store."""
TRIED = 8
"""Nearest questions that are looked at."""


class Shelf:
    """The questions of one scope, `most` at a time: beyond, the oldest are found by their exact words only."""

    def __init__(self, most: int) -> None:
        self.mark = 0
        self._most = most
        self._keys: list[str] = []
        self._senses: list[Sense] = []
        self._places: dict[str, int] = {}
        self._forms: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
        self._vectors = np.zeros((16, 0), np.float32)
        self._next = 0

    def add(self, news: News) -> None:
        place = self._place(news.key)
        sense = self._senses[place] = sense_of(news.text)
        self._forms[sense.form].add(place)
        if news.vector is not None:
            vector = np.frombuffer(news.vector, np.float32)
            if not self._vectors.shape[1]:
                self._vectors = np.zeros((len(self._vectors), len(vector)), np.float32)
            if len(vector) == self._vectors.shape[1]:  # else another model made it
                self._vectors[place] = vector

    def same(self, sense: Sense) -> list[str]:
        """Keys of questions that are the same by the rules."""
        found = self._forms.get(sense.form, set())
        return [self._keys[place] for place in found if same(self._senses[place], sense)]

    def close(self, vector: Vector, sense: Sense, threshold: float) -> list[str]:
        """Keys of questions whose vectors are close and that no rule keeps apart, the closest first."""
        count = len(self._keys)
        if not count or self._vectors.shape[1] != len(vector):
            return []
        cosines = self._vectors[:count] @ vector
        best = np.argpartition(-cosines, TRIED)[:TRIED] if count > TRIED else np.arange(count)
        best = best[np.argsort(-cosines[best])]
        near = [int(place) for place in best if cosines[place] >= threshold]
        return [self._keys[place] for place in near if agree(self._senses[place], sense)]

    def forget(self, key: str) -> None:
        """It is gone from the store."""
        if (place := self._places.pop(key, None)) is not None:
            self._empty(place)

    def _place(self, key: str) -> int:
        if (known := self._places.get(key)) is not None:
            self._empty(known)
            return known
        if len(self._keys) < self._most:
            place = len(self._keys)
            self._keys.append(key)
            self._senses.append(Sense("", ()))
            if place >= len(self._vectors):
                self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        else:
            place, self._next = self._next, (self._next + 1) % self._most
            self._places.pop(self._keys[place], None)
            self._empty(place)
            self._keys[place] = key
        self._places[key] = place
        return place

    def _empty(self, place: int) -> None:
        form = self._senses[place].form
        self._forms[form].discard(place)
        if not self._forms[form]:
            del self._forms[form]
        self._senses[place] = Sense("", ())
        self._vectors[place] = 0


class MeaningIndex:
    """Finds by the rules first, then by the vectors of a model, if there is one."""

    def __init__(self, store: CacheStore, most: int, meaning: MeaningModel | None = None) -> None:
        self._store = store
        self._most = most
        self._meaning = meaning
        self._shelves: OrderedDict[Scope, Shelf] = OrderedDict()

    async def open(self) -> None:
        if self._meaning is not None:
            await self._meaning.open()

    async def find(self, question: Question) -> tuple[str | None, Vector | None]:
        """The answer to a question that means the same, or the vector to keep this one by. Raises EngineError."""
        shelf = self._shelf(question.scope)
        mark, news = await self._store.since(question.scope, shelf.mark)
        if mark > shelf.mark:  # else somebody else has learned of it meanwhile
            shelf.mark = mark
            for one in news:
                shelf.add(one)
        sense = sense_of(question.text)
        answer = await self._first(shelf, question.scope, shelf.same(sense))
        if answer is not None or self._meaning is None:
            return answer, None
        vector = await self._meaning.vector(question.text)
        if vector is not None:
            close = shelf.close(vector, sense, self._meaning.threshold)
            answer = await self._first(shelf, question.scope, close)
        return answer, vector

    def clear(self) -> None:
        self._shelves.clear()

    async def close(self) -> None:
        if self._meaning is not None:
            await self._meaning.close()

    async def _first(self, shelf: Shelf, scope: Scope, keys: list[str]) -> str | None:
        for key in keys:
            answer = await self._store.get(scope, key)
            if answer is not None:
                return answer
            shelf.forget(key)
        return None

    def _shelf(self, scope: Scope) -> Shelf:
        shelf = self._shelves.get(scope)
        if shelf is None:
            shelf = self._shelves[scope] = Shelf(self._most)
            if len(self._shelves) > MOST_SCOPES:
                self._shelves.popitem(last=False)
        self._shelves.move_to_end(scope)
        return shelf
