"""`python -m gpt4_instruct` is the command line."""

from gpt4_instruct.cli.app import main

main()
