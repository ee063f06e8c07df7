"""One Lambda function per file, a few lines each: parse, one call, return."""
