"""An analysis as people read it: a sentence, a table on a terminal, a page. Nothing of it runs in a Lambda function."""
