"""Step 6: may the challenger replace the champion?"""
