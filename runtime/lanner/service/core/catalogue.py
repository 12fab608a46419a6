"""The models of a service, by name and alias."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel


@dataclass
class Catalogue:
    """The models of the service. A replaced model takes over between requests.

    Attributes:
        models: The models by name.
        aliases: Other names of models, each perhaps with a prompt: ``"minilm:query"``.
    """

    models: dict[str, ServedModel] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self.models.values()))

    def only(self, names: Collection[str]) -> "Catalogue":
        """Return only the models of these names, with their aliases."""
        models = {name: model for name, model in self.models.items() if name in names}
        aliases = {
            alias: name
            for alias, name in self.aliases.items()
            if name in models or name.rpartition(":")[0] in models
        }
        return Catalogue(models, aliases)

    def find(self, name: str | None, *heads: str) -> tuple[ServedModel, str | None]:
        """Return the model that a client asks for, and the name of the prompt in it.

        Args:
            name: The name, or an alias, perhaps with a prompt after a colon. None for the only
                model, or the only one with one of the heads.
            heads: The heads that the route needs.

        Raises:
            Refusal: There is no such model, it has another head, or several would do.
        """
        if not name:
            return self._only(*heads), None
        found, prompt = self._named(self.aliases.get(name, name))
        if found is None:
            known = ", ".join(self.models)
            msg = f"there is no such model: the service has {known}"
            raise Refusal(Kind.NO_MODEL, msg, param="model")
        if heads:
            found.require_head(*heads)
        return found, prompt

    def _named(self, name: str) -> tuple[ServedModel | None, str | None]:
        found = self.models.get(name)
        if found is not None:
            return found, None
        before, colon, prompt = name.rpartition(":")
        return (self.models.get(before), prompt) if colon else (None, None)

    def _only(self, *heads: str) -> ServedModel:
        fitting = [one for one in self if not heads or one.head in heads]
        if len(fitting) == 1:
            return fitting[0]
        if len(self.models) == 1:
            (only,) = self
            only.require_head(*heads)
        if not fitting:
            msg = f"no model of the service has the head {' or '.join(heads)}"
            raise Refusal(Kind.WRONG_HEAD, msg, param="model")
        names = ", ".join(one.name for one in fitting)
        msg = f"name one of the models {names}"
        raise Refusal(Kind.NO_MODEL, msg, param="model")
