"""The commands that generate, as tests call them."""

COMMANDS = {
    "continue": ("-d", "0.2"),
    "infill": ("--gap", "0.5:0.75"),
    "loop": ("--bridge", "0.2"),
    "restyle": ("--style", "a.wav", "--nar-temperature", "1"),
}
"""Each with what it cannot do without, or is quick with."""
