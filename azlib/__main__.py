from azlib.cli import main

main()
