"""The one place where messages become tokens, and a reply's tokens become reasoning and text.

`tokens.Chat` renders a conversation, continues it with an answer and says where an answer ends.  Engines,
canaries, the trainer, `s2d check` and `s2d try` all ask it, so what is trained is what is served.
`loading` finds the tokenizer that vLLM would choose for a directory, `control` keeps strangers' text from
becoming control tokens, `template` says what a chat template knows, `reasoning` splits a reply.
"""
