"""The LlmMetadata section of a `.litertlm` file: what LiteRT-LM is told about a model."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from litert_lm_builder.runtime.proto import llm_metadata_pb2, token_pb2

from bundler.containers.llm_parameters import PromptTemplate
from bundler.errors import BundleError

Token = int | str | tuple[int, ...]  # an id, a text the engine looks up, or a sequence of ids


@dataclass(frozen=True)
class Sampler:
    """How tokens are drawn where nobody says. The defaults are those of `task-bundler run`; greedy, a small GPT-2
    repeats itself.

    `type`: a name of SamplerParameters.Type in LiteRT-LM's sampler_params.proto. TOP_P takes the `top_k` likeliest, of
    these the likeliest that together have `top_p`, and draws.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 1.0
    type: str = "TOP_P"


@dataclass(frozen=True)
class LlmMetadata:
    """Start token, stop tokens and context of a model. The defaults describe a completion model, such as GPT-2.

    `max_num_tokens` is the context in tokens, prompt and output together; 0 leaves it to the engine. `user`, `model`
    and `system` are put around the parts of a conversation, `chat_template` is a Jinja template that replaces them.
    `model_type` is the name of the engine's chat handling, "generic_model" or empty for none in particular. `sampler`
    is for engines that are told no other; None leaves it to them, and LiteRT-LM 0.18.1 is greedy then.

    Measured in LiteRT-LM 0.18.1: the start token goes in once, before a session's first prompt, and none if it is None.
    A text that is no single token is cut into tokens, of which only the first goes in. Ids are not compared with the
    vocabulary. A stop token of several ids stops on that sequence, and what stops is never part of the output.
    """

    start_token: int | str | None = None
    stop_tokens: tuple[Token, ...] = ()
    max_num_tokens: int = 0
    user: PromptTemplate = PromptTemplate()
    model: PromptTemplate = PromptTemplate()
    system: PromptTemplate = PromptTemplate()
    chat_template: str = ""
    model_type: str = "generic_model"
    sampler: Sampler | None = None

    def encode(self) -> bytes:
        """The message as bytes. Raises BundleError without a stop token, for an empty token or one that is no int32."""
        if not self.stop_tokens:
            raise BundleError("no stop token; LiteRT-LM needs at least one; give one such as <|endoftext|>")
        message = llm_metadata_pb2.LlmMetadata()
        try:
            if self.start_token is not None:
                if isinstance(self.start_token, tuple):
                    raise ValueError(
                        f"start token {self.start_token}: of a sequence the engine puts in the first id only"
                    )
                _fill(message.start_token, self.start_token)
            for token in self.stop_tokens:
                _fill(message.stop_tokens.add(), token)
            for role in ("user", "model", "system"):
                template = getattr(self, role)
                # Presence counts in this message: an empty prefix that is there is not one that is missing.
                if template.prefix:
                    getattr(message.prompt_templates, role).prefix = template.prefix
                if template.suffix:
                    getattr(message.prompt_templates, role).suffix = template.suffix
            if self.sampler:
                parameters = message.sampler_params
                parameters.type = parameters.Type.Value(self.sampler.type)
                parameters.temperature, parameters.p = self.sampler.temperature, self.sampler.top_p
                parameters.k = self.sampler.top_k
            if self.max_num_tokens:
                message.max_num_tokens = self.max_num_tokens
            if self.model_type:
                getattr(message.llm_model_type, self.model_type).SetInParent()
            if self.chat_template:
                message.jinja_prompt_template = self.chat_template
        except (ValueError, TypeError, AttributeError) as error:
            raise BundleError(
                f"LlmMetadata that cannot be written ({error}); expected token ids that fit int32, text in "
                "UTF-8 and a model type of litert-lm-builder; correct the value"
            ) from error
        # Both are mandatory in the builder's own check; a completion model does neither.
        message.supports_thinking = message.supports_function_calling = False
        return message.SerializeToString(deterministic=True)

    @classmethod
    def decode(cls, data: bytes) -> LlmMetadata:
        """The message in `data`. Raises BundleError if that is none."""
        message = llm_metadata_pb2.LlmMetadata()
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            raise BundleError(
                f"LlmMetadata cannot be read ({error}); expected a serialized LlmMetadata message; "
                "build the .litertlm file again"
            ) from error
        templates = {
            role: PromptTemplate(
                getattr(message.prompt_templates, role).prefix, getattr(message.prompt_templates, role).suffix
            )
            for role in ("user", "model", "system")
        }
        parameters = message.sampler_params
        sampler = Sampler(parameters.temperature, parameters.k, parameters.p, parameters.Type.Name(parameters.type))
        start_token = _token(message.start_token) if message.HasField("start_token") else None
        if isinstance(start_token, tuple):
            start_token = start_token[0] if start_token else None  # as the engine reads it
        return cls(
            start_token=start_token,
            stop_tokens=tuple(map(_token, message.stop_tokens)),
            max_num_tokens=message.max_num_tokens,
            chat_template=message.jinja_prompt_template,
            model_type=message.llm_model_type.WhichOneof("model_type") or "",
            sampler=sampler if message.HasField("sampler_params") else None,
            **templates,
        )


def _fill(union: token_pb2.TokenUnion, token: Token) -> None:
    if token == "" or token == ():
        raise ValueError("an empty token, which aborts the engine")
    if isinstance(token, str):
        union.token_str = token
        return
    ids = (token,) if isinstance(token, int) else token
    if min(ids) < 0:
        raise ValueError(f"token id {min(ids)}")
    union.token_ids.ids.extend(ids)


def _token(union: token_pb2.TokenUnion) -> Token:
    if union.HasField("token_str"):
        return union.token_str
    ids = tuple(union.token_ids.ids)
    return ids[0] if len(ids) == 1 else ids
