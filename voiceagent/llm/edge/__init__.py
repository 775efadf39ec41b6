"""One logical model over many endpoints: chosen per request, watched, failed over, kept within limits and budget."""
